"""What the encoder made of each example is kept beside it, so that every replica learns from the same numbers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; features of older examples are computed when they are needed."""
    op.add_column("examples", sa.Column("features", sa.LargeBinary))
    op.add_column("examples", sa.Column("encoder", sa.String(64)))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("examples", "encoder")
    op.drop_column("examples", "features")

"""One's own data: files and folders of all kinds as examples with labels."""

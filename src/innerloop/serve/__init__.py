"""A service over HTTP that keeps few-shot tasks and answers for them. See ``docs/serve.md``.

It needs ``pip install 'innerloop[serve]'``.
"""

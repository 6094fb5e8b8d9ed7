"""What type checkers say of users' code: mypy and pyright read these files, and find all that is expected and no more.

`assert_type` is what must be inferred, and an ignored error is one that must be found: both checkers complain of a
comment that ignores nothing. The models are built by a test, so that what is typed here also runs.
"""

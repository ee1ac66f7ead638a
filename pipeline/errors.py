"""The one exception that is shown to a user without a traceback."""


class UserError(Exception):
    """A mistake the user can mend: one line that names the file, key or clip and says what to do."""

"""The verbs of the `hiss` command, one small module each."""

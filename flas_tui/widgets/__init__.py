"""The widgets of the terminal application that Textual does not have."""

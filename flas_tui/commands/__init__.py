"""The subcommands. Each module is light to import: what a command needs is imported when it runs."""

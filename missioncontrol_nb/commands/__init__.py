"""The subcommands of `missioncontrol`, one module each, every one with a click command named `command`."""

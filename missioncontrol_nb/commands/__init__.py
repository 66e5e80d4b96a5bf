"""The subcommands of `missioncontrol`: each module holds one, as a click command named `command`."""

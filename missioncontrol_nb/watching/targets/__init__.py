"""Where messages go: webhooks, Slack, Teams, e-mail, Alertmanager, commands."""

from missioncontrol_nb.watching.targets.reading import FORMS, read_targets
from missioncontrol_nb.watching.targets.target import About, DeliveryError, Target

__all__ = ["FORMS", "About", "DeliveryError", "Target", "read_targets"]

"""Watches a dataset: looks at it every so often, and tells targets what changed about the alarms, each change once."""

# `looking` judges in a process of its own; `changes` turns what it found into messages; `state` keeps alarms, messages
# and what each target was told in one file; `outbox` says which message a target gets next; `delivery` sends them with
# `targets`; `watch` joins them. None of these modules imports the judge before a look.

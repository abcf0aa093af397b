"""The link to akiosd: money is asked for, records are told."""

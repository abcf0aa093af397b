"""What every part of akiosd stands on: its log, its configuration, its directories, peers, uids and keys."""

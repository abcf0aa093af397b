"""A policy and facts about the host become a plan, a filter, a Landlock ruleset, limits."""

"""The link to akiosd: asks for money, reports records, and the line of calls that wait."""

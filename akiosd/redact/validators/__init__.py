"""Check digits and plausible values.  python-stdnum and phonenumbers where they know the number."""

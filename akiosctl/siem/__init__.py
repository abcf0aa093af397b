"""Records in the words of security monitoring: OCSF, ECS and CEF."""

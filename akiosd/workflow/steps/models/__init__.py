"""How each provider of models is asked, and what its answers mean."""

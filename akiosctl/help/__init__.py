"""What tells people and programs about the verbs: examples, forms of JSON, words for shells."""

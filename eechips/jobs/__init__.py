"""The built-in recipes, one module for each verb, and the verbs as functions."""

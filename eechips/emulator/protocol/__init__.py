"""Earth Engine's REST protocol: one module per resource.

See https://developers.google.com/earth-engine/reference/rest.
"""

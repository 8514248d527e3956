"""Earth Engine's REST protocol over HTTP: routes, quota, faults and the server's own controls.

Evaluation happens in workers, which this package reaches through ``service.Service.evaluate``.

See https://developers.google.com/earth-engine/reference/rest.
"""

"""The recipes of ``eechips images``, ``composites`` and ``mosaic``: rasters of regions."""

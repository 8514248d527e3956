"""Lets a script run by plain Python ask a local Earth Engine: imported by the interpreter before the script."""

import os

import ee
from google.auth.credentials import AnonymousCredentials

_initialize = ee.Initialize


def _local(*_, **__):
    # Else the client fetches a list of them, from a place that a test cannot reach.
    ee.deprecation.deprecated_assets = {"": ee.deprecation.DeprecatedAsset("", None, None, None)}
    _initialize(AnonymousCredentials(), url=os.environ["LOCAL_EARTH_ENGINE"], project="local")


def _anew():
    if ee.data._get_state().initialized:
        ee.Reset()
        _local()


ee.Initialize = _local
ee.Authenticate = lambda *_, **__: True
ee.ServiceAccountCredentials = lambda *_, **__: AnonymousCredentials()
os.register_at_fork(after_in_child=_anew)  # a connection that processes share mixes their answers up

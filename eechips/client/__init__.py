"""Send requests to Earth Engine: authorised, within the quota, retried, classified and validated.

Every request of a process passes one :class:`~eechips.client.http.transport.Transport`. Which requests a unit needs,
and what becomes of the files, belongs into :mod:`eechips.engine`.
"""

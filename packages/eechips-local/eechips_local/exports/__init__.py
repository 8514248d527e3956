"""Exports: tasks that compute in processes of their own and write files into folders, or assets.

Folders stand for Google Drive and for the buckets of Cloud Storage. Requests that are answered at once are in
``protocol``, and what both compute is in ``rendering`` and ``table_files``.
"""

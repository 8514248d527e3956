"""Open vector files and Parquet files of others."""

"""Exchange units and outcomes with workers that have no pipe to the parent: by queues, pipelines and files."""

"""What every training run needs, of trackers and of classifiers: processes, batches, schedule, checkpoint and log."""

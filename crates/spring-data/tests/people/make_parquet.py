"""Writes table.parquet, as pandas writes tables: strings, microseconds, Snappy."""

import pandas

pandas.DataFrame(
    {
        "instruction": ["Tea?", "Coffee?"],
        "output": ["Always.", "Never."],
        "created_at": pandas.to_datetime(["2024-01-08T09:12:00Z", "2024-01-09T09:12:00Z"]),
        "id": [1, 2],
    }
).to_parquet("table.parquet", engine="pyarrow", index=False)

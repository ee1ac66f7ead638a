"""Tables on disk: written whole, with a checksum a page. Of one that is missing or damaged a line says what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.files import atomic

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table


def write(path: Path, table: DataFrame | Table) -> None:
    """Write a table; the index of a DataFrame is left out."""
    import pyarrow
    from pyarrow import parquet

    if not isinstance(table, pyarrow.Table):
        table = pyarrow.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
    with atomic(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read(path: Path) -> DataFrame:
    """Read a table; list columns hold arrays. A UserError names a file that is missing, damaged or no table."""
    return read_arrow(path).to_pandas()


def read_arrow(path: Path, again: str = "") -> Table:
    """`read` without pandas; `again`: what makes the file anew, if that is not Snakemake by its name."""
    import pyarrow
    from pyarrow import parquet

    again = again or f"make it with `snakemake --cores all {path}`"
    if not path.is_file():
        raise UserError(f"{path}: missing; {again}")
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
        _ = table.column_names  # decoded when asked for
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:  # other files, changed bytes
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of the content
            raise UserError(f"{path}: cannot be read ({os.strerror(error.errno)})") from None
        why = str(error).partition("\n")[0]
        raise UserError(
            f"{path}: damaged or no parquet table ({why}); if it was made here, delete it; {again}"
        ) from None
    return table

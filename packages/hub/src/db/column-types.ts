/** The column types that databases name differently; migrations take them from here. */
export interface ColumnTypes {
  readonly bytes: 'blob' | 'bytea';
  /** Milliseconds since 1970. */
  readonly instant: 'bigint';
}

export const SQLITE_COLUMNS: ColumnTypes = { bytes: 'blob', instant: 'bigint' };
export const POSTGRES_COLUMNS: ColumnTypes = { bytes: 'bytea', instant: 'bigint' };

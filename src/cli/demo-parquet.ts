/**
 * Writes the smallest Parquet file that pandas, R and Spark read: one row group, required columns, one uncompressed page
 * each in plain encoding. Format: apache/parquet-format, README and parquet.thrift; metadata in Thrift's compact protocol.
 */

export type ParquetColumn =
  | { readonly name: string; readonly type: 'int64'; readonly values: readonly bigint[] }
  | { readonly name: string; readonly type: 'double'; readonly values: readonly number[] }
  | { readonly name: string; readonly type: 'text'; readonly values: readonly string[] };

const MAGIC = Buffer.from('PAR1');

/** parquet.thrift: Type. */
const PHYSICAL_TYPE = { int64: 2, double: 5, text: 6 } as const;
/** parquet.thrift: ConvertedType UTF8. */
const UTF8 = 0;
/** parquet.thrift: Encoding PLAIN and RLE; CompressionCodec UNCOMPRESSED; PageType DATA_PAGE; FieldRepetitionType REQUIRED. */
const PLAIN = 0;
const RLE = 3;
const UNCOMPRESSED = 0;
const DATA_PAGE = 0;
const REQUIRED = 0;

/** All columns must have the same number of values. */
export function writeParquet(columns: readonly ParquetColumn[]): Buffer {
  const rows = columns[0]?.values.length ?? 0;
  const pieces: Buffer[] = [MAGIC];
  let offset = MAGIC.length;
  const chunks = columns.map(column => {
    const page = plainValues(column);
    const header = pageHeader(page.length, rows);
    const start = offset;
    pieces.push(header, page);
    offset += header.length + page.length;
    return { column, start, size: header.length + page.length };
  });
  const footer = new Struct()
    .i32(1, 1)
    .list(2, [
      new Struct().text(4, 'schema').i32(5, columns.length),
      ...columns.map(({ name, type }) => {
        const element = new Struct().i32(1, PHYSICAL_TYPE[type]).i32(3, REQUIRED).text(4, name);
        return type === 'text' ? element.i32(6, UTF8) : element;
      }),
    ])
    .i64(3, rows)
    .list(4, [
      new Struct()
        .list(
          1,
          chunks.map(({ column, start, size }) =>
            new Struct()
              .i64(2, start)
              .struct(
                3,
                new Struct()
                  .i32(1, PHYSICAL_TYPE[column.type])
                  .i32List(2, [PLAIN])
                  .textList(3, [column.name])
                  .i32(4, UNCOMPRESSED)
                  .i64(5, rows)
                  .i64(6, size)
                  .i64(7, size)
                  .i64(9, start),
              ),
          ),
        )
        .i64(2, offset - MAGIC.length)
        .i64(3, rows),
    ])
    .text(6, 's3mount demo')
    .end();
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  return Buffer.concat([...pieces, footer, length, MAGIC]);
}

function pageHeader(size: number, rows: number): Buffer {
  const dataPage = new Struct().i32(1, rows).i32(2, PLAIN).i32(3, RLE).i32(4, RLE);
  return new Struct().i32(1, DATA_PAGE).i32(2, size).i32(3, size).struct(5, dataPage).end();
}

function plainValues(column: ParquetColumn): Buffer {
  if (column.type === 'text') {
    return Buffer.concat(
      column.values.flatMap(value => {
        const bytes = Buffer.from(value);
        const length = Buffer.alloc(4);
        length.writeUInt32LE(bytes.length);
        return [length, bytes];
      }),
    );
  }
  const bytes = Buffer.alloc(column.values.length * 8);
  if (column.type === 'int64') column.values.forEach((value, row) => void bytes.writeBigInt64LE(value, row * 8));
  else column.values.forEach((value, row) => void bytes.writeDoubleLE(value, row * 8));
  return bytes;
}

/** Thrift's compact protocol: field ids as differences, integers in zigzag varints. Fields in ascending order of id. */
class Struct {
  readonly #bytes: number[] = [];
  #lastId = 0;

  i32(id: number, value: number): this {
    return this.#field(id, 5).#varint(zigzag(value));
  }

  i64(id: number, value: number): this {
    return this.#field(id, 6).#varint(zigzag(value));
  }

  text(id: number, value: string): this {
    return this.#field(id, 8).#text(value);
  }

  struct(id: number, value: Struct): this {
    return this.#field(id, 12).#append(value.end());
  }

  list(id: number, values: readonly Struct[]): this {
    this.#field(id, 9).#listHeader(values.length, 12);
    for (const value of values) this.#append(value.end());
    return this;
  }

  i32List(id: number, values: readonly number[]): this {
    this.#field(id, 9).#listHeader(values.length, 5);
    for (const value of values) this.#varint(zigzag(value));
    return this;
  }

  textList(id: number, values: readonly string[]): this {
    this.#field(id, 9).#listHeader(values.length, 8);
    for (const value of values) this.#text(value);
    return this;
  }

  end(): Buffer {
    return Buffer.from([...this.#bytes, 0]);
  }

  #field(id: number, type: number): this {
    this.#bytes.push(((id - this.#lastId) << 4) | type);
    this.#lastId = id;
    return this;
  }

  #listHeader(length: number, type: number): void {
    if (length < 15) this.#bytes.push((length << 4) | type);
    else {
      this.#bytes.push(0xf0 | type);
      this.#varint(length);
    }
  }

  #text(value: string): this {
    const bytes = Buffer.from(value);
    return this.#varint(bytes.length).#append(bytes);
  }

  #append(bytes: Uint8Array): this {
    this.#bytes.push(...bytes);
    return this;
  }

  #varint(value: number): this {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 128)) this.#bytes.push((rest % 128) | 0x80);
    this.#bytes.push(rest);
    return this;
  }
}

/** Only for what is not negative here: lengths, counts, offsets and small constants. */
function zigzag(value: number): number {
  return value * 2;
}

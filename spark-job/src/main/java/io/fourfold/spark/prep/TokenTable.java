package io.fourfold.spark.prep;

import java.io.IOException;
import java.io.OutputStream;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.hadoop.ParquetFileWriter;
import org.apache.parquet.hadoop.ParquetWriter;
import org.apache.parquet.hadoop.api.WriteSupport;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.apache.parquet.io.OutputFile;
import org.apache.parquet.io.PositionOutputStream;
import org.apache.parquet.io.api.Binary;
import org.apache.parquet.io.api.RecordConsumer;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.MessageTypeParser;

/** The Parquet token table: a row per kept document, in order, for looking things up and for other programs. */
final class TokenTable {
    private static final MessageType SCHEMA = MessageTypeParser.parseMessageType("""
            message document {
              required binary document_id (STRING);
              required binary source (STRING);
              required binary split (STRING);
              required binary shard (STRING);
              required int32 row;
              required binary sha256 (STRING);
              required int64 text_bytes;
              required int32 token_count;
              required group tokens (LIST) {
                repeated group list {
                  required int32 element;
                }
              }
            }
            """);

    private TokenTable() {}

    /**
     * A row.
     *
     * @param shard file of the split's folder that holds the same tokens
     * @param row number of the document in that shard
     * @param tokens with the end-of-document token
     */
    record Row(
            String documentId,
            String source,
            String split,
            String shard,
            int row,
            String sha256,
            long textBytes,
            int[] tokens) {}

    /** Opens a writer whose bytes depend on the rows alone. Closing it does not close {@code out}. */
    static ParquetWriter<Row> writer(OutputStream out) throws IOException {
        return new Builder(new StreamFile(out))
                .withCompressionCodec(CompressionCodecName.ZSTD)
                .withWriteMode(ParquetFileWriter.Mode.CREATE)
                .build();
    }

    private static final class Builder extends ParquetWriter.Builder<Row, Builder> {
        Builder(OutputFile file) {
            super(file);
        }

        @Override
        protected Builder self() {
            return this;
        }

        @Override
        @SuppressWarnings("deprecation")
        protected WriteSupport<Row> getWriteSupport(Configuration configuration) {
            return new RowSupport();
        }
    }

    private static final class RowSupport extends WriteSupport<Row> {
        @org.jspecify.annotations.Nullable
        private RecordConsumer consumer;

        @Override
        public WriteContext init(Configuration configuration) {
            return new WriteContext(SCHEMA, Map.of());
        }

        @Override
        public void prepareForWrite(RecordConsumer recordConsumer) {
            consumer = recordConsumer;
        }

        @Override
        public void write(Row row) {
            RecordConsumer to = java.util.Objects.requireNonNull(consumer);
            to.startMessage();
            text(to, 0, row.documentId());
            text(to, 1, row.source());
            text(to, 2, row.split());
            text(to, 3, row.shard());
            integer(to, 4, row.row());
            text(to, 5, row.sha256());
            to.startField("text_bytes", 6);
            to.addLong(row.textBytes());
            to.endField("text_bytes", 6);
            integer(to, 7, row.tokens().length);
            tokens(to, row.tokens());
            to.endMessage();
        }

        private static void text(RecordConsumer to, int field, String value) {
            String name = SCHEMA.getFieldName(field);
            to.startField(name, field);
            to.addBinary(Binary.fromString(value));
            to.endField(name, field);
        }

        private static void integer(RecordConsumer to, int field, int value) {
            String name = SCHEMA.getFieldName(field);
            to.startField(name, field);
            to.addInteger(value);
            to.endField(name, field);
        }

        private static void tokens(RecordConsumer to, int[] tokens) {
            to.startField("tokens", 8);
            to.startGroup();
            if (tokens.length > 0) {
                to.startField("list", 0);
                for (int token : tokens) {
                    to.startGroup();
                    to.startField("element", 0);
                    to.addInteger(token);
                    to.endField("element", 0);
                    to.endGroup();
                }
                to.endField("list", 0);
            }
            to.endGroup();
            to.endField("tokens", 8);
        }
    }

    /** Lets Parquet write into a stream that somebody else opened. */
    private record StreamFile(OutputStream out) implements OutputFile {
        @Override
        public PositionOutputStream create(long blockSizeHint) {
            return new CountingStream(out);
        }

        @Override
        public PositionOutputStream createOrOverwrite(long blockSizeHint) {
            return create(blockSizeHint);
        }

        @Override
        public boolean supportsBlockSize() {
            return false;
        }

        @Override
        public long defaultBlockSize() {
            return 0;
        }
    }

    private static final class CountingStream extends PositionOutputStream {
        private final OutputStream out;
        private long position;

        CountingStream(OutputStream out) {
            this.out = out;
        }

        @Override
        public long getPos() {
            return position;
        }

        @Override
        public void write(int b) throws IOException {
            out.write(b);
            position++;
        }

        @Override
        public void write(byte[] bytes, int from, int length) throws IOException {
            out.write(bytes, from, length);
            position += length;
        }

        @Override
        public void flush() throws IOException {
            out.flush();
        }

        @Override
        public void close() throws IOException {
            out.flush();
        }
    }
}

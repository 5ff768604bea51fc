package io.fourfold.spark.prep;

import io.fourfold.data.shard.Checksums;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ShardBuilder;
import io.fourfold.data.shard.ShardInfo;
import io.fourfold.data.shard.TokenType;
import io.fourfold.data.text.Document;
import io.fourfold.data.text.DocumentHash;
import io.fourfold.data.text.SkipCounts;
import io.fourfold.data.tokenize.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.hadoop.ParquetWriter;

/** Tokenizes one unit into shards and its part of the token table. Holds one shard of each split in memory. */
final class UnitWriter {
    /** Documents and characters that go to the tokenizer together. */
    private static final int BATCH_DOCUMENTS = 64;

    private static final int BATCH_CHARACTERS = 1 << 20;

    private final PrepUnit unit;
    private final PrepSettings settings;
    private final UnitFiles files;
    private final Tokenizer tokenizer;
    private final Split train;
    private final Split validation;
    private final List<Pending> batch = new ArrayList<>();
    private int batchCharacters;

    private record Pending(Document document, String source) {}

    UnitWriter(PrepUnit unit, PrepSettings settings, UnitFiles files, Tokenizer tokenizer) {
        this.unit = unit;
        this.settings = settings;
        this.files = files;
        this.tokenizer = tokenizer;
        this.train = new Split(Manifest.TRAIN);
        this.validation = new Split(Manifest.VALIDATION);
    }

    /**
     * Writes all files of the unit, its result last.
     *
     * @param duplicates ordinals of the documents to leave out, ascending
     */
    UnitResult write(String plan, long[] duplicates, Configuration configuration, FaultPoint fault) throws IOException {
        fault.reached("unit started", unit.index());
        SkipCounts counts;
        try (UnitReader reader = new UnitReader(unit, settings, configuration)) {
            counts = files.table().write(UnitFiles.tableName(unit), out -> {
                try (ParquetWriter<TokenTable.Row> table = TokenTable.writer(out)) {
                    writeDocuments(reader, duplicates, table);
                }
                return reader.counts();
            });
        }
        fault.reached("shards written", unit.index());
        UnitResult result = new UnitResult(
                unit.index(),
                plan,
                counts.records(),
                duplicates.length,
                counts.byReason(),
                counts.examples(),
                train.result(),
                validation.result(),
                table());
        files.units().write(UnitFiles.resultName(unit), PrepJson.toBytes(result));
        fault.reached("unit committed", unit.index());
        return result;
    }

    private UnitResult.TableInfo table() throws IOException {
        String name = UnitFiles.tableName(unit);
        try (InputStream in = files.table().open(name)) {
            return new UnitResult.TableInfo(name, files.table().length(name), Checksums.crc32c(in));
        }
    }

    private void writeDocuments(UnitReader reader, long[] duplicates, ParquetWriter<TokenTable.Row> table)
            throws IOException {
        for (Document document = reader.next(); document != null; document = reader.next()) {
            if (Arrays.binarySearch(duplicates, document.ordinal()) >= 0) {
                continue;
            }
            batch.add(new Pending(document, reader.source()));
            batchCharacters += document.text().length();
            if (batch.size() == BATCH_DOCUMENTS || batchCharacters >= BATCH_CHARACTERS) {
                writeBatch(table);
            }
        }
        writeBatch(table);
        train.finishShard();
        validation.finishShard();
    }

    private void writeBatch(ParquetWriter<TokenTable.Row> table) throws IOException {
        List<int[]> encoded = tokenizer.encode(
                batch.stream().map(pending -> pending.document().text()).toList());
        for (int i = 0; i < batch.size(); i++) {
            Pending pending = batch.get(i);
            int[] ids = encoded.get(i);
            int[] tokens = Arrays.copyOf(ids, ids.length + 1);
            tokens[ids.length] = tokenizer.endOfDocument();
            boolean validates = DocumentHash.isValidation(pending.document().hash(), settings.validationFraction());
            (validates ? validation : train).add(pending, tokens, table);
        }
        batch.clear();
        batchCharacters = 0;
    }

    /** The shards of one split that this unit writes. */
    private final class Split {
        private final String name;
        private final ShardBuilder builder = new ShardBuilder(TokenType.of(settings.vocabSize()));
        private final List<ShardInfo> shards = new ArrayList<>();
        private long textBytes;

        Split(String name) {
            this.name = name;
        }

        void add(Pending pending, int[] tokens, ParquetWriter<TokenTable.Row> table) throws IOException {
            Document document = pending.document();
            table.write(new TokenTable.Row(
                    document.id(),
                    pending.source(),
                    name,
                    UnitFiles.shardName(unit, shards.size()),
                    builder.documents(),
                    HexFormat.of().formatHex(document.hash()),
                    document.bytes(),
                    tokens));
            builder.add(tokens);
            textBytes += document.bytes();
            if (builder.tokens() >= settings.tokensPerShard()) {
                finishShard();
            }
        }

        void finishShard() throws IOException {
            if (builder.documents() > 0) {
                String file = UnitFiles.shardName(unit, shards.size());
                shards.add(files.split(name).write(file, out -> builder.write(file, out)));
                builder.clear();
            }
        }

        UnitResult.SplitResult result() {
            return new UnitResult.SplitResult(
                    shards.stream().mapToLong(ShardInfo::documents).sum(),
                    shards.stream().mapToLong(ShardInfo::tokens).sum(),
                    textBytes,
                    shards);
        }
    }
}

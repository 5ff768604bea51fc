package io.fourfold.spark.prep;

import io.fourfold.data.text.Document;
import io.fourfold.data.text.DocumentHash;
import java.io.IOException;
import java.io.InputStream;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import org.apache.hadoop.conf.Configuration;
import org.apache.spark.Partitioner;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaRDD;
import org.jspecify.annotations.Nullable;
import scala.Tuple2;

/**
 * Finds documents whose text occurs earlier in the data set. Keys of 44 bytes (hash, unit, ordinal; big-endian) are sorted
 * across the cluster: of equal hashes the first stays. The others' ordinals become one small file per unit.
 */
final class Deduplication {
    private static final int KEY_BYTES = DocumentHash.BYTES + Integer.BYTES + Long.BYTES;

    private Deduplication() {}

    /** Order of keys; sorts by hash, then by place. */
    private static final class KeyOrder implements Comparator<byte[]>, Serializable {
        @Override
        public int compare(byte[] left, byte[] right) {
            return Arrays.compareUnsigned(left, right);
        }
    }

    /** By the first four bytes of the hash. */
    private static final class ByHash extends Partitioner {
        private final int partitions;

        ByHash(int partitions) {
            this.partitions = partitions;
        }

        @Override
        public int numPartitions() {
            return partitions;
        }

        @Override
        public int getPartition(Object key) {
            return Integer.remainderUnsigned(ByteBuffer.wrap((byte[]) key).getInt(), partitions);
        }
    }

    /** A partition for each unit. */
    private static final class ByUnit extends Partitioner {
        private final int units;

        ByUnit(int units) {
            this.units = units;
        }

        @Override
        public int numPartitions() {
            return units;
        }

        @Override
        public int getPartition(Object key) {
            return ByteBuffer.wrap((byte[]) key).getInt();
        }
    }

    /** Writes the duplicates of every unit. */
    static void run(JavaRDD<PrepUnit> units, int unitCount, PrepSettings settings, WorkContext work) {
        JavaPairRDD<byte[], Boolean> keys =
                units.mapPartitionsToPair(part -> new Keys(part, settings, work.configuration()));
        JavaPairRDD<byte[], Boolean> places = keys.repartitionAndSortWithinPartitions(
                        new ByHash(unitCount), new KeyOrder())
                .mapPartitionsToPair(Repeats::new)
                .repartitionAndSortWithinPartitions(new ByUnit(unitCount), new KeyOrder());
        places.mapPartitionsWithIndex(
                        (index, part) -> {
                            write(index, part, work.files());
                            return List.of(index).iterator();
                        },
                        false)
                .count();
    }

    private static void write(int unit, Iterator<Tuple2<byte[], Boolean>> places, UnitFiles files) throws IOException {
        files.duplicates().write(UnitFiles.duplicatesName(new PrepUnit(unit, List.of())), out -> {
            while (places.hasNext()) {
                out.write(places.next()._1(), Integer.BYTES, Long.BYTES);
            }
            return unit;
        });
    }

    /** Ordinals of a unit's duplicates, ascending. */
    static long[] read(UnitFiles files, PrepUnit unit) throws IOException {
        try (InputStream in = files.duplicates().open(UnitFiles.duplicatesName(unit))) {
            ByteBuffer bytes = ByteBuffer.wrap(in.readAllBytes());
            long[] ordinals = new long[bytes.remaining() / Long.BYTES];
            bytes.asLongBuffer().get(ordinals);
            return ordinals;
        }
    }

    /** Keys of all documents of some units, read as they are asked for. */
    private static final class Keys implements Iterator<Tuple2<byte[], Boolean>> {
        private final Iterator<PrepUnit> units;
        private final PrepSettings settings;
        private final Configuration configuration;
        private @Nullable UnitReader reader;
        private int unit;
        private @Nullable Document next;

        Keys(Iterator<PrepUnit> units, PrepSettings settings, Configuration configuration) throws IOException {
            this.units = units;
            this.settings = settings;
            this.configuration = configuration;
            advance();
        }

        private void advance() throws IOException {
            while (true) {
                UnitReader open = reader;
                if (open == null) {
                    if (!units.hasNext()) {
                        next = null;
                        return;
                    }
                    PrepUnit current = units.next();
                    unit = current.index();
                    open = new UnitReader(current, settings, configuration);
                    reader = open;
                }
                next = open.next();
                if (next != null) {
                    return;
                }
                open.close();
                reader = null;
            }
        }

        @Override
        public boolean hasNext() {
            return next != null;
        }

        @Override
        public Tuple2<byte[], Boolean> next() {
            Document document = next;
            if (document == null) {
                throw new NoSuchElementException();
            }
            byte[] key = ByteBuffer.allocate(KEY_BYTES)
                    .put(document.hash())
                    .putInt(unit)
                    .putLong(document.ordinal())
                    .array();
            try {
                advance();
            } catch (IOException e) {
                throw new java.io.UncheckedIOException(e);
            }
            return new Tuple2<>(key, true);
        }
    }

    /** The places (unit, ordinal) of all keys but the first of each hash. */
    private static final class Repeats implements Iterator<Tuple2<byte[], Boolean>> {
        private final Iterator<Tuple2<byte[], Boolean>> sorted;
        private byte[] previous = new byte[0];
        private byte @Nullable [] next;

        Repeats(Iterator<Tuple2<byte[], Boolean>> sorted) {
            this.sorted = sorted;
            advance();
        }

        private void advance() {
            next = null;
            while (next == null && sorted.hasNext()) {
                byte[] key = sorted.next()._1();
                if (previous.length > 0 && Arrays.equals(previous, 0, DocumentHash.BYTES, key, 0, DocumentHash.BYTES)) {
                    next = Arrays.copyOfRange(key, DocumentHash.BYTES, KEY_BYTES);
                }
                previous = key;
            }
        }

        @Override
        public boolean hasNext() {
            return next != null;
        }

        @Override
        public Tuple2<byte[], Boolean> next() {
            byte[] place = next;
            if (place == null) {
                throw new NoSuchElementException();
            }
            advance();
            return new Tuple2<>(place, true);
        }
    }

    /** True when the duplicates of every unit are known. */
    static boolean complete(UnitFiles files, List<PrepUnit> units) throws IOException {
        List<String> present = new ArrayList<>(files.duplicates().names());
        for (PrepUnit unit : units) {
            if (!present.contains(UnitFiles.duplicatesName(unit))) {
                return false;
            }
        }
        return true;
    }
}

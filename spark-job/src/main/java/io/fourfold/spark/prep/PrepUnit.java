package io.fourfold.spark.prep;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * A piece of work: neighbouring files, or parts of one, that one task reads and writes as whole shards. Units are cut from
 * the inputs alone, so the same inputs give the same shards on any cluster.
 */
record PrepUnit(int index, List<Slice> slices) implements Serializable {
    PrepUnit {
        slices = new ArrayList<>(slices);
    }

    /**
     * Part of a file.
     *
     * @param start first byte; lines belong to the slice they begin in
     * @param end byte after the last; the file's length for whole files
     */
    record Slice(InputFile file, long start, long end) implements Serializable {
        boolean whole() {
            return start == 0 && end == file.length();
        }
    }

    /** Name of the unit in file names. */
    String name() {
        return String.format(Locale.ROOT, "%05d", index);
    }

    /** Cuts files, in order, into units of roughly {@code textBytes}. */
    static List<PrepUnit> cut(List<InputFile> files, long textBytes) {
        List<PrepUnit> units = new ArrayList<>();
        List<Slice> slices = new ArrayList<>();
        long collected = 0;
        for (InputFile file : files) {
            for (Slice slice : slices(file, textBytes)) {
                long size = slice.whole() ? file.estimatedTextBytes() : slice.end() - slice.start();
                if (!slices.isEmpty() && collected + size > textBytes) {
                    units.add(new PrepUnit(units.size(), slices));
                    slices.clear();
                    collected = 0;
                }
                slices.add(slice);
                collected += size;
            }
        }
        if (!slices.isEmpty()) {
            units.add(new PrepUnit(units.size(), slices));
        }
        return units;
    }

    private static List<Slice> slices(InputFile file, long textBytes) {
        List<Slice> slices = new ArrayList<>();
        if (!file.kind().splittable() || file.length() <= textBytes) {
            slices.add(new Slice(file, 0, file.length()));
            return slices;
        }
        long parts = (file.length() + textBytes - 1) / textBytes;
        for (long part = 0; part < parts; part++) {
            slices.add(new Slice(file, file.length() * part / parts, file.length() * (part + 1) / parts));
        }
        return slices;
    }
}

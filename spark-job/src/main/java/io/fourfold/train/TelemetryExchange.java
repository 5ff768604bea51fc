package io.fourfold.train;

import io.fourfold.kernels.op.QuantStats;
import java.util.Map;
import java.util.TreeMap;

/** Adds up quantization statistics over ranks. Ranks may have different operands: those of their own experts. */
final class TelemetryExchange {
    private TelemetryExchange() {}

    /** Collective; every rank gets the sums by operand name. */
    static Map<String, QuantStats> reduce(WorldAgreement world, Map<String, QuantStats> mine) {
        StringBuilder text = new StringBuilder();
        mine.forEach((name, stats) -> text.append(line(name, stats)).append('\n'));
        Map<String, QuantStats> all = new TreeMap<>();
        for (String rank : world.gather(text.toString())) {
            rank.lines().forEach(line -> {
                String[] fields = line.split("\t", -1);
                all.merge(fields[0], parse(fields), QuantStats::plus);
            });
        }
        return all;
    }

    private static String line(String name, QuantStats stats) {
        return String.join(
                "\t",
                name,
                Long.toString(stats.elements()),
                Long.toString(stats.zeroCodes()),
                Long.toString(stats.saturated()),
                Long.toString(stats.blocks()),
                Long.toString(stats.scaleUnderflows()),
                Float.toString(stats.amax()),
                Double.toString(stats.signal()),
                Double.toString(stats.noise()));
    }

    private static QuantStats parse(String[] fields) {
        return new QuantStats(
                Long.parseLong(fields[1]),
                Long.parseLong(fields[2]),
                Long.parseLong(fields[3]),
                Long.parseLong(fields[4]),
                Long.parseLong(fields[5]),
                Float.parseFloat(fields[6]),
                Double.parseDouble(fields[7]),
                Double.parseDouble(fields[8]));
    }
}

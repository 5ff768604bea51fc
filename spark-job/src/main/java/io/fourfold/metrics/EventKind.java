package io.fourfold.metrics;

/** Words for {@link MetricsSink#event}'s kind that readers give a meaning to. Others are shown as they are. */
public final class EventKind {
    /** A checkpoint was committed. */
    public static final String CHECKPOINT = "checkpoint";
    /** A checkpoint could not be written; the run goes on. */
    public static final String CHECKPOINT_FAILED = "checkpoint_failed";
    /** Training goes on from a checkpoint. */
    public static final String RESUME = "resume";
    /** GEMMs changed their format, for instance the late return to BF16. */
    public static final String PRECISION_SWITCH = "precision_switch";
    /** The attempt ended on request, before its last step. */
    public static final String STOP = "stop";
    /** All steps are done. */
    public static final String FINISHED = "finished";
    /** The attempt ended on an error. */
    public static final String FAILED = "failed";
    /** Loss or gradients were not finite. */
    public static final String NON_FINITE = "non_finite";
    /** The driver starts the ranks again after a failure. */
    public static final String RESTART = "restart";
    /** Anything else worth a look. */
    public static final String WARNING = "warning";

    private EventKind() {}
}

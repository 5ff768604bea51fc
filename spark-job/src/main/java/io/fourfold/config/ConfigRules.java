package io.fourfold.config;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The combinations of settings that make no sense together, whatever this version can run (for that see
 * {@link VersionLimits}). Each rule looks only at sections that could be read, so one broken section does not hide the
 * problems of the others.
 */
final class ConfigRules {
    /** What could be read of a configuration. */
    record Sections(
            @Nullable ModelConfig model,
            @Nullable RecipeConfig recipe,
            @Nullable ParallelConfig parallel,
            @Nullable DataConfig data,
            @Nullable TrainConfig train,
            @Nullable RunConfig run) {
        static Sections of(Map<String, Record> records) {
            return new Sections(
                    (ModelConfig) records.get("model"),
                    (RecipeConfig) records.get("recipe"),
                    (ParallelConfig) records.get("parallel"),
                    (DataConfig) records.get("data"),
                    (TrainConfig) records.get("train"),
                    (RunConfig) records.get("run"));
        }
    }

    private ConfigRules() {}

    static List<Problem> problems(Sections sections) {
        List<Problem> problems = new ArrayList<>();
        ModelConfig model = sections.model();
        ParallelConfig parallel = sections.parallel();
        TrainConfig train = sections.train();
        if (model != null) {
            ModelRules.check(model, problems);
            FamilyRules.check(model, problems);
        }
        if (sections.recipe() != null) {
            RecipeRules.check(sections.recipe(), model, train, problems);
        }
        if (sections.recipe() != null && parallel != null) {
            RecipeRules.gathered(sections.recipe(), parallel.gradients(), problems);
        }
        boolean mapped = false;
        if (parallel != null) {
            List<Problem> mapping = ParallelRules.problems(parallel);
            problems.addAll(mapping);
            mapped = mapping.isEmpty();
        }
        if (parallel != null && model != null && ParallelRules.degrees(parallel).isEmpty()) {
            ParallelRules.fit(parallel, model, train, problems);
            if (mapped && sections.recipe() != null) {
                SplitRules.check(parallel, model, sections.recipe(), train, problems);
            }
        }
        if (train != null) {
            TrainRules.check(train, mapped ? parallel : null, model, problems);
        }
        if (sections.data() != null) {
            DataRules.check(sections.data(), problems);
        }
        if (sections.run() != null) {
            RunRules.check(sections.run(), mapped ? parallel : null, problems);
        }
        return problems;
    }
}

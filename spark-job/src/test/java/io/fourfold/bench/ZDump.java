package io.fourfold.bench;
import io.fourfold.config.RecipeConfig;
import io.fourfold.plan.*;
import java.util.List;
public final class ZDump { public static void main(String[] a) {
 for (var k : List.of(RecipeConfig.Kind.BF16, RecipeConfig.Kind.NVFP4)) for (var s : List.of(BenchShape.S, BenchShape.M, BenchShape.Q)) for (String set : List.of("train.lend_gradients=false","train.lend_gradients=true")) for (String r : List.of("[]","[activation]","[norm, activation]")) {
  MemoryEstimate m = Plan.of(s.config(k,1,true,List.of(set,"train.recompute="+r))).memory(); double g=1<<30;
  System.out.printf("%s %s %-28s %-18s par %.2f grad %.2f (lent %.2f) opt %.2f act %.2f work %.2f total %.2f%n", s,k,set,r,m.weights()/g,m.gradients()/g,m.lent()/g,m.optimizer()/g,m.activations()/g,m.workspace()/g,m.total()/g);
 } } }

"""The ten tests that catch a naive mixin, and where each of them stands.

1. Weight 0 equals the host bit for bit, with clipping and accumulation.
   tests/training/test_mixin.py::test_weight_zero_is_the_host_bit_for_bit
   tests/promises/test_precision.py::test_01_weight_zero_is_the_host_in_every_precision
   tests/promises/test_precision.py::test_01_random_negatives_do_not_follow_the_hosts_precision
   tests/promises/test_precision.py::test_01_a_model_made_in_init_module_has_the_same_loss_nets
   tests/promises/test_compile.py::test_01_a_compiled_net_is_compiled_once_as_in_the_host_alone
   tests/promises/test_compile.py::test_01_a_module_compiled_as_a_whole_trains_as_the_host_alone
   tests/promises/test_compile.py::test_01_a_logging_host_compiled_as_a_whole_fails_alone_and_not_under_seal
   tests/promises/test_steps.py::test_01_short_trainers
   tests/promises/test_steps.py::test_01_a_barebones_trainer
   tests/promises/test_steps.py::test_01_nothing_else_is_logged_and_the_progress_bar_is_the_hosts
   tests/promises/test_steps.py::test_01_detecting_anomalies_and_profiling_do_not_mind
   tests/promises/test_steps.py::test_01_a_net_that_is_run_again_in_the_backward_pass
   tests/promises/test_ranks.py::test_01_weight_zero_is_the_host_on_two_processes
   tests/promises/test_host_styles.py::test_a_style_is_itself_at_weight_zero_and_read_right_above
2. `global_step`, `max_steps` and `every_n_train_steps` count as with the host.
   tests/training/test_mixin.py::test_the_trainer_counts_as_with_the_host_alone
   tests/promises/test_steps.py::test_02_counters_checkpoints_and_validation_come_when_the_hosts_come
3. Learning rates are the host's for every legal form of `configure_optimizers`.
   tests/promises/test_configure_optimizers.py::test_03_learning_rates_are_the_hosts
   tests/promises/test_configure_optimizers.py::test_03_a_host_without_an_optimizer_stays_as_it_is
   tests/promises/test_configure_optimizers.py::test_03_a_host_that_steps_its_schedule_itself
   tests/promises/test_configure_optimizers.py::test_03_a_manual_host_with_two_optimizers_and_schedules
   tests/promises/test_configure_optimizers.py::test_03_hooks_around_the_optimizer_are_called_as_the_hosts
   tests/promises/test_configure_optimizers.py::test_03_the_command_lines_optimizer_and_schedule_replace_the_hosts
4. A resume in mid-epoch is exact, and checkpoints of host and SEAL interchange.
   tests/training/test_mixin.py::test_resume_in_mid_epoch_is_exact
   tests/training/test_mixin.py::test_checkpoints_interchange_with_the_host
   tests/promises/test_tuning_and_averaging.py::test_09_a_checkpoint_with_averaged_weights_resumes_exactly
   tests/promises/test_host_styles.py::test_a_style_resumes_exactly
5. Two `ddp` processes equal each other, and one at twice the batch.
   tests/promises/test_ddp.py::test_processes_equal_one_at_the_summed_batch
   tests/promises/test_ddp.py::test_processes_draw_numbers_of_their_own
   tests/promises/test_ranks.py::test_05_the_energy_acts_and_the_processes_stay_equal
   tests/promises/test_host_styles.py::test_processes_equal_each_other_and_one_on_the_whole_batch
6. Under a gradient scaler with clipping weights stay finite, and the norm is taken after unscaling.
   tests/training/test_mixin.py::test_loss_scaling_does_not_change_the_force
   tests/promises/test_precision.py::test_06_the_norm_is_taken_after_unscaling
   tests/promises/test_precision.py::test_06_a_step_that_overflows_is_skipped_as_the_hosts
7. Steps and constructors of every shape; the wrong order of bases, and hosts that use our names.
   tests/training/test_mixin.py::test_dict_returns_keep_their_other_keys
   tests/training/test_mixin.py::test_a_step_that_returns_none_is_skipped
   tests/training/test_mixin.py::test_the_base_order_is_checked_when_the_class_is_made
   tests/training/test_mixin.py::test_a_host_that_uses_our_names_is_refused
   tests/training/test_mixin.py::test_a_host_with_an_argument_called_seal_is_refused
   tests/promises/test_steps.py::test_07_steps_of_every_shape
   tests/promises/test_steps.py::test_07_a_step_that_draws_several_batches_is_read_by_the_one_it_trains_on
   tests/promises/test_steps.py::test_07_overrides_below_the_mixin_keep_their_super
   tests/promises/test_steps.py::test_07_the_host_keeps_its_own_keyword_arguments
   tests/promises/test_steps.py::test_07_a_mixin_between_mixins
   tests/promises/test_steps.py::test_07_a_mixin_of_ones_own_for_several_hosts
8. A host optimizer over `self.parameters()` never touches the loss-net; no stray gradient.
   tests/training/test_mixin.py::test_no_gradient_crosses
   tests/training/test_mixin.py::test_seal_step_leaves_the_host_without_gradients
   tests/promises/test_steps.py::test_08_a_host_optimizer_over_all_parameters_never_touches_the_loss_net
   tests/promises/test_steps.py::test_08_a_frozen_part_of_the_host_stays_frozen
9. The tuner tries many values and restores the loss-net; LBFGS steps it once a batch; averaged weights.
   tests/training/test_mixin.py::test_lr_find_leaves_the_loss_nets_as_they_were
   tests/promises/test_tuning_and_averaging.py::test_09_the_tuner_searches_as_with_the_host_and_leaves_no_trace
   tests/promises/test_tuning_and_averaging.py::test_09_the_loss_nets_optimizer_is_as_new_after_tuning
   tests/promises/test_tuning_and_averaging.py::test_09_lbfgs_evaluates_the_host_often_and_steps_the_loss_net_once
   tests/promises/test_tuning_and_averaging.py::test_09_averaged_weights_are_the_hosts
   tests/promises/test_tuning_and_averaging.py::test_09_validation_with_averaged_weights_goes_by
10. Both sets of arguments are shown, saved arguments survive, two runs share a directory.
   tests/cli/test_command.py::test_arguments_of_host_and_mixin_are_explained_together
   tests/cli/test_command.py::test_printed_config_runs_unchanged
   tests/cli/test_command.py::test_runs_in_one_directory_do_not_collide
   tests/training/test_mixin.py::test_arguments_of_the_seal_subclass_are_saved_as_plain_data
   tests/cli/test_sweeps.py::test_two_runs_of_a_sweep_in_one_directory
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_of_the_ten_has_its_tests():
    promises = re.split(r"^(?=\d+\. )", __doc__, flags=re.MULTILINE)[1:]
    assert [int(promise.split(".")[0]) for promise in promises] == list(range(1, 11))
    for promise in promises:
        named = re.findall(r"^   (tests/\S+)::(test_\w+)$", promise, flags=re.MULTILINE)
        assert named
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_each_numbered_test_is_named_above():
    for path in Path(__file__).parent.glob("test_*.py"):
        for name in re.findall(r"^def (test_\d\d_\w+)\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert f"tests/promises/{path.name}::{name}\n" in __doc__, name

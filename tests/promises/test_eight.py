"""What the mixin promises, and the tests that hold it to that.

1. The host is not edited, and weight 0 is the training of the host alone, bit for bit, random numbers included.
   tests/training/test_mixin.py::test_weight_zero_is_the_host_bit_for_bit
   tests/training/test_mixin.py::test_initial_weights_and_random_state_are_the_hosts
   tests/loss/test_criterion.py::test_random_numbers_are_its_own
   tests/promises/test_host_styles.py::test_a_style_is_itself_at_weight_zero_and_read_right_above
2. The host keeps its own optimization mode; the loss-nets are stepped by hand inside the training step.
   tests/training/test_mixin.py::test_every_host_trains_and_its_loss_net_too
   tests/training/test_mixin.py::test_the_trainer_counts_as_with_the_host_alone
   tests/training/test_mixin.py::test_seal_step_may_be_overridden
   tests/training/test_mixin.py::test_a_manual_step_whose_backward_pass_is_not_seen_warns
   tests/examples/test_manual_lifter.py::test_by_hand_and_by_the_mixin_the_weights_are_the_same
3. State lives in the checkpoint under `seal`, outside the `state_dict`; a resume is exact; host and SEAL interchange.
   tests/training/test_mixin.py::test_state_dict_parameters_and_ddp_know_nothing_of_the_loss_nets
   tests/training/test_mixin.py::test_resume_in_mid_epoch_is_exact
   tests/training/test_mixin.py::test_checkpoints_interchange_with_the_host
4. Plain `ddp` works: equal loss-nets, and two processes equal one at the summed batch.
   tests/promises/test_ddp.py::test_processes_equal_one_at_the_summed_batch
   tests/promises/test_ddp.py::test_processes_draw_numbers_of_their_own
   tests/promises/test_host_styles.py::test_processes_equal_each_other_and_one_on_the_whole_batch
5. Keypoints, prediction and truth are found where that is unambiguous; elsewhere an error names `seal_batch`.
   tests/training/test_mixin.py::test_every_host_trains_and_its_loss_net_too
   tests/training/test_mixin.py::test_an_ambiguous_step_raises_and_names_the_override
   tests/training/test_mixin.py::test_normalised_targets_warn_once_and_the_override_mends_it
   tests/training/reading/test_styles.py::test_a_style
   tests/training/test_mixin.py::test_the_host_works_on_pytorch_lightning
   tests/promises/test_host_styles.py::test_a_style_is_itself_at_weight_zero_and_read_right_above
6. Arguments of host and mixin stand together; saved arguments are plain data; other names of ours are refused.
   tests/cli/test_command.py::test_arguments_of_host_and_mixin_are_explained_together
   tests/training/test_mixin.py::test_arguments_of_the_seal_subclass_are_saved_as_plain_data
   tests/training/test_mixin.py::test_a_host_that_uses_our_names_is_refused
   tests/training/test_mixin.py::test_device_and_precision_moves_reach_the_loss_nets_as_they_should
   tests/training/test_mixin.py::test_train_and_eval_reach_the_loss_nets
7. Validation and test steps are captured too, without an update.
   tests/training/test_mixin.py::test_validation_and_test_steps_are_captured_without_an_update
   tests/training/test_mixin.py::test_an_unreadable_validation_step_harms_only_who_asks
8. Five values are logged and nothing else.
   tests/training/test_mixin.py::test_every_host_trains_and_its_loss_net_too
   tests/promises/test_steps.py::test_01_nothing_else_is_logged_and_the_progress_bar_is_the_hosts
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_of_the_eight_has_its_tests():
    promises = re.split(r"^(?=\d\. )", __doc__, flags=re.MULTILINE)[1:]
    assert [int(promise[0]) for promise in promises] == list(range(1, 9))
    for promise in promises:
        named = re.findall(r"^   (tests/\S+)::(test_\w+)$", promise, flags=re.MULTILINE)
        assert named
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"

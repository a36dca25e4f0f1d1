"""Trainings, by PyTorch; never on a robot. Their commands end with one line where a library is missing."""

import sys

from training.framework.requirements import end_without_libraries

end_without_libraries(sys.orig_argv)

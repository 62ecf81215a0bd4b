"""What a distillation is worth so far: few-step pictures beside the teacher's and the classical solvers'."""

"""UniAlign, reproduced: from download to table."""

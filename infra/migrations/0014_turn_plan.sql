-- The planner takes any range of the log for a third of it, so the few rows of a turn seemed worth
-- a plan of their own each time, which took longer than reading them, while the others waited.
ALTER FUNCTION creditledger_turn(bigint, bigint) SET plan_cache_mode = force_generic_plan;

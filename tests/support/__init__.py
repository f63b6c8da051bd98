"""What tests of processes, engines and crashes share: peers, homes of depots, conditions."""

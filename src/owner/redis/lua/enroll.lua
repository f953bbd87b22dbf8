-- enroll: mirrors domain/roster.rs
-- ARGV: 6 rooms at the most, 7 for how long they are remembered, in milliseconds, 8 1 if the user takes part in the rooms
-- that follow, 0 if not.
local N = K .. ':p'
for at = 9, #ARGV do
  if ARGV[8] == '1' then
    call('ZADD', N, now, ARGV[at])
  else
    -- What was noted a moment ago may be of a room that is being made.
    local noted = call('ZSCORE', N, ARGV[at])
    if noted and tonumber(noted) + 60000 <= now then call('ZREM', N, ARGV[at]) end
  end
end
call('ZREMRANGEBYRANK', N, 0, -1 - ARGV[6])
call('PEXPIRE', N, ARGV[7])
return '{}'

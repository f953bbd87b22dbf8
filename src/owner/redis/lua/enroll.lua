-- enroll: mirrors domain/roster.rs
-- Updates the user's room list. `is_participant`: 1 if the rooms are added, 0 if they are removed. Arguments from
-- 7 on: the rooms.
local is_participant = ARGV[6]
local rooms_key = key .. ':p'
for at = 7, #ARGV do
  if is_participant == '1' then
    call('ZADD', rooms_key, now, ARGV[at])
  else
    -- A new entry can be of a room that is being made.
    local added = call('ZSCORE', rooms_key, ARGV[at])
    if added and tonumber(added) + NEW_ENTRY_MS <= now then call('ZREM', rooms_key, ARGV[at]) end
  end
end
call('ZREMRANGEBYRANK', rooms_key, 0, -1 - ROOMS_LISTED)
call('PEXPIRE', rooms_key, ROOM_LIST_MS)
return '{}'

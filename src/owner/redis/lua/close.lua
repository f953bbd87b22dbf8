-- close: mirrors domain/room.rs
-- The room ends for all members.
local user_id, is_admin, host_key = ARGV[5], ARGV[6], ARGV[7]
local why = open()
if why then return refuse(absence(why)) end
if not is_host(user_id, is_admin, host_key) then return refuse('close_forbidden') end
local by = is_admin == '1' and user_id ~= room.host and 'admin' or 'host'
tell('*', '{"closed":"closed by ' .. by .. '"}')
local answer = done('"r":1')
if hooks > 0 then
  local texts = visible(call('HVALS', members_key))
  for at, text in ipairs(texts) do hook_departure(text, at == #texts) end
  hook(HOOK_ROOM_CLOSED, ',"c":1')
end
each('DEL')
call('SET', key .. ':x', now + CLOSED_ROOM_MS, 'PX', CLOSED_ROOM_MS)
return answer

-- since: mirrors domain/history.rs
-- Events that a node has missed. It knows the room of `epoch` and `generation` up to these events and message.
-- `next_epoch`: the epoch after this one, if that has to end. `known_number`: the last events that anyone at this node knows of,
-- be it by a reply alone.
local last_number, last_seq, epoch = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local generation, next_epoch = ARGV[8], ARGV[9]
local known_number = tonumber(ARGV[10] or last_number)

-- The number of the last events that both this server and a server of that takeover have; -1 if that is not in the history
-- of this server: it took over beside it.
local function common_number()
  if generation == room.generation then return room.number end
  local known = takeovers()
  for at = 1, #known - 1 do
    if known[at][1] == generation then return math.min(known[at + 1][2], room.number) end
  end
  return -1
end

local why = open(true, true)
if why then return refuse(why) end
local is_awaited = call('SREM', key .. ':z', string.match(origin, '^%d+')) == 1
local lacks_events = epoch == room.epoch and common_number() < known_number
-- A later server had ended this epoch already, because nodes knew more of it.
local lacks_end = is_awaited and epoch ~= room.epoch and common_number() < 0
if lacks_events or lacks_end then
  -- The node has events that this server does not have: the epoch ends, and the remaining log belongs to the next one.
  room.number = math.max(room.number, known_number)
  end_epoch(next_epoch)
  settle()
  return done('"l":[]')
end
-- Of events and messages the first ones; the node asks again for the next.
local list = read_texts(key .. ':f', 'XRANGE', string.format('%d-0', last_number + 1), '+', MISSED_PORTION)
for _, text in ipairs((read_texts(log_key, 'XRANGE', string.format('%d-0', last_seq + 1), '+', MISSED_PORTION))) do
  local n, c = string.match(text, '^{"n":(%d+)'), string.match(text, '"c":"([%w_-]+)"')
  list[#list + 1] = '{"n":' .. n .. ',"o":"","t":' .. now .. ',"f":[["*' .. c .. '",{"message":' .. text .. '}]]}'
end
return done('"l":[', false, list)

-- Functions of the scripts of the nodes. Suffixes of key:
--   (none)    a sorted set: node numbers by the end of their lease
--   :names    a hash: names of processes by node; none for a node that stops
--   :reapers  a hash: collector of a dead node, and until when it is, by dead node
--   :purged   a hash: names of processes that another node has cleaned up after, by node, until they return
--   :users    a hash: number of users by node
--   :made     a sorted set: rooms that were made on purpose, by the end of their list entry
--   :left     the same, of other rooms
--   :index    the rooms of both, in the order of their names
--   :resting  a sorted set: other rooms, by the time when a node left them last
--   :seen     a sorted set: users by the time at which they last came or went, guests excepted
-- Of one node: :rooms and :users are sets of its places.

-- Time in milliseconds since 1970, by the one clock that all nodes share.
local function clock()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end


-- Makes the index of the room list, if an earlier version has left none.
local function index()
  if call('EXISTS', key .. ':index') == 0 then
    call('ZUNIONSTORE', key .. ':index', 2, key .. ':made', key .. ':left', 'WEIGHTS', 0, 0)
  end
end

-- Removes a room from the list of rooms that a node has left.
local function forget_left(name)
  call('ZREM', key .. ':left', name)
  if not call('ZSCORE', key .. ':made', name) then call('ZREM', key .. ':index', name) end
end
